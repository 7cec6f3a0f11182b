"""System 2: a GRU beside a linear map."""
