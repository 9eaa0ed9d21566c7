"""`datasync lambda package`: the function that forwards S3 events, ready to be uploaded."""

from pathlib import Path
from typing import Annotated

import typer

from datasync.cli import exits
from datasync.cli.terminal import print_line, remark
from datasync.models.words import byte_text
from datasync.errors import ConfigurationError

DEFAULT_OUTPUT = Path("forwarder.zip")
NEXT_STEPS = """\
Next, one of these; lambda/README.md in the project has all of it:
  AWS SAM     beside lambda/template.yaml: sam deploy --guided --capabilities CAPABILITY_IAM
  Terraform   the module deploy/terraform/lambda takes the file as its `package`
  by hand     aws lambda update-function-code --function-name NAME --zip-file fileb://{path}"""

forwarder = typer.Typer(help="The function that forwards S3 events: pack it for AWS Lambda.")


@forwarder.command("package")
def package(
    output: Annotated[Path, typer.Option(help="The file to write.")] = DEFAULT_OUTPUT,
) -> int:
    """Write the function as a zip file. The same version is the same bytes on every machine."""
    import base64
    import hashlib

    from datasync.forwarder import handler_file, zipped

    content = zipped(handler_file())
    try:
        output.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(
            f"{output} cannot be written: {error.strerror}", hint="Name another file with --output."
        ) from None
    checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
    print_line(f"Wrote {output} ({byte_text(len(content))}, CodeSha256 {checksum}).")
    for line in NEXT_STEPS.format(path=output).splitlines():
        remark(line)
    return exits.DONE
