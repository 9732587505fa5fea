"""Demand pricing: from transactions to the price with the highest expected revenue.

``data`` → ``features`` → ``models`` → ``training`` make a model; ``artifact`` → ``pricing`` → ``app`` → ``handler``
serve it. The modules that serve import only flask, apig-wsgi, numpy, onnxruntime and orjson.
"""
