"""python -m edgetool"""

from edgetool.cli import main

main()
