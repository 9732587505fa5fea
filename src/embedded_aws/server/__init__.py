"""What the server does beside AWS's services.

serve           the server's start: settings, all patches, ministack
admission       who may ask it: loopback hosts, no web page unsigned, none of ministack's own routes but health
administrator   the first user, whose key the emulator's owner works with
saving          the state, saved soon after it has changed
durable         functions and images, saved before a change of them is acknowledged
late_loading    patches of services that ministack loads when they are first used
"""
