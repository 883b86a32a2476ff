"""Every approach on every fold: trials, the table, costs and pictures."""
