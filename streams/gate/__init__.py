"""The acting side's shell: reads what workers say, claims, reports."""
