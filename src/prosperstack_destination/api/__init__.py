"""The operators' API: what people and programs may ask and change, under ``/api``."""
