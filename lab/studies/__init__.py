"""The papers' experiments as tables: python -m lab.studies NAME."""
