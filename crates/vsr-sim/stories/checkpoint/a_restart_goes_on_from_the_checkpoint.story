# What the checkpoint has is not executed again after a restart, and a request that it has is
# answered again from its client-table.
cluster 3 checkpoint-every 2
given request c1 put x 1
given settle
given request c2 incr y
given settle
given request c1 put x 3
given settle
given run 500ms
crash r0
crash r1
crash r2
restart r0
restart r1
restart r2
given run 2s
expect key x 3
expect key y 1
resend c2
given settle
expect key y 1
request c2 incr y
given settle
given run 1s
expect key y 2
