"""Keras parts that several systems share."""
