"""Loaders: public file formats and data sets to `Events`."""
