"""The program that build.sh makes of this folder."""

from bridge import Bridge
from patchbay_plugin import serve

serve(Bridge())
