"""Training: data sets become weights, by the auto-decoder's loop (one process or several) and the training of the view
encoder.

Entry: train.train_prior, train_encoder.train_encoder. May import: datasets, scans, models, and everything below them.
"""
