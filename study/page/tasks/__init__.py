"""The tasks as pages: one file per task with its title, words, headline, remarks, sections and figures."""
