"""The look of every page, and the one way to draw on it; needs the standard library only.

page         the stylesheet, a whole page, a table, a figure
charts       charts as SVG, and their zoom

Two kinds of pages use it: those of delivery (monitoring, releases), where ``ml_delivery`` is installed, and those of a
service (its model's report, its own page), whose packages must not include ``ml_delivery``: reports are written in training
jobs, too, and the own page is served. So it is neither part of ``ml_delivery``, nor of ``ml_service``, which a service may
change and which delivery can't import: it is a package of its own. The wheel of delivery contains it, and the bake of a
service that uses it copies it to ``src/ml_pages``, which belongs to the template like ``src/ml_service``.
"""
