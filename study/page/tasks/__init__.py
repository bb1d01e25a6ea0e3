"""The tasks as pages: one file a task with its title, words, headline, remarks and sections."""
