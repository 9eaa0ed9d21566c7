"""DataSync keeps a local directory equal to an S3 bucket, continuously, and can prove it."""

__version__ = "0.1.0"
