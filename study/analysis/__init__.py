"""From the tables to numbers: intervals, winners, verdicts, budgets, and what single questions ask."""
