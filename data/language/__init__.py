"""Captions to ids: words, word pieces, word vectors."""
