"""Lambda: functions run in processes of their own, as on AWS.

functions     functions from ZIP files: which process runs a call, and what it answers
images        functions from images: created and updated by the image's digest
containers    one execution environment of a function from an image
image_files   an image in the registry, and its files
execution     one execution environment of a function from a ZIP file
bootstrap     what runs in that environment's process: imports the handler, and calls it
read_only     in that process: writing is possible in /tmp only
packages      ZIP files, unpacked; the libraries that Lambda's runtimes include
interpreters  the Python interpreter of a runtime
runtime_api   the HTTP API that an image's runtime asks for its next call
aliases       weights of an alias split its traffic
grants        whether a function's policy lets a service of AWS invoke it
urls          who may call a function by its URL
updates       concurrent changes of a function are refused; a dry run changes nothing
call_metrics  metrics of each call
limits        variables, payloads and names that Lambda refuses
memory        how much memory a process holds
reports       Lambda's own lines in a function's log
"""
