"""Bad input: documents, checkpoints, tables and images that are wrong in many ways.

``targets`` says what is attacked, ``mutation`` how valid input is made wrong, ``guard`` what no
case may do. ``python -m fuzz`` (``make fuzz``) runs all of it, guided by coverage; and
tests/test_fuzz.py a few hundred cases of each target.
"""
