"""Turns a data set into weights: the auto-decoder's loop, on one process or several, and the encoder's training.

Entry: train.train_prior, train_encoder.train_encoder. May import: datasets, scans, models, and everything below them.
"""
