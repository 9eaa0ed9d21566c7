"""Demo mode: a local AWS, a bucket of samples, the real Lambda forwarder and the service itself.

Needs nothing but this project's environment; listens on 127.0.0.1 only. Stands beside the command
line: it may know the app and the settings, nothing in the service may know it.
"""

from datasync.demo.put import environment, put_object
from datasync.demo.shell import lines
from datasync.demo.show import run_demo

__all__ = ["environment", "lines", "put_object", "run_demo"]
