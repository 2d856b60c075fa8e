"""Entry point of plain ``pulumi preview --stack NAME``; ``main:`` in Pulumi.yaml points at this folder."""

from geusemaker.program.stack import define_stack

define_stack()
