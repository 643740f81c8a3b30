"""Where things lie in the checkout."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
CONF = CHECKOUT / "conf"
SCRIPTS = CHECKOUT / "scripts"
