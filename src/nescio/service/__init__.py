"""A classifier behind HTTP: an interface for programs and a page for people.

It needs the extra ``nescio[serve]``.
"""
