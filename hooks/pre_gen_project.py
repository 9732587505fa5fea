"""Refuses bad answers before a file is written. The only Python here that is a template: a hook learns the answers so."""

import json
import sys

sys.path.insert(0, bytes.fromhex("{{ template_folder | hex }}").decode() + "/hooks")

from answers import refuse

refuse(json.loads(bytes.fromhex("{{ cookiecutter | jsonify | hex }}")))
