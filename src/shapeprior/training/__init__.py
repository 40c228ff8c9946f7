"""Training of decoders with their codes, by one process or several, and of view encoders.

Entry: train.train_prior, train_encoder.train_encoder. May import: datasets, scans, models, and everything below them.
"""
