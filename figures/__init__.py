"""What is drawn: a run's charts, bars by pair, heat maps, the letters of pages."""
