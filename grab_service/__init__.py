"""grab-service: a flash-sale engine for coupons and benefits. Where to begin: docs/ARCHITECTURE.md."""

__version__ = "0.1.0"
