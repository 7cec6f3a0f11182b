"""The five systems, each a folder with a sheet; `engine` holds the Keras parts that they share."""
