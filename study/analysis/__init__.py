"""From tables to numbers: intervals, winners, verdicts, budgets, and analyses for single questions."""
