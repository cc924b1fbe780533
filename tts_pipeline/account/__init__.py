"""The account store: rates, pauses and budgets that every process of one account shares."""
