"""Tests of clients.encoders."""
