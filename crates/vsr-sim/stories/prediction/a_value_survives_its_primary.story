# The value is part of the entry. A view change keeps it, or drops it together with the entry: never is an entry that one
# replica may have executed given another value. Here r2 alone has it, and all others learn it from there.
cluster 3 predicts primary
block r0->r1 prepare
request c1 put x 1
deliver r0->r2 prepare
crash r0
run 3s
expect reply c1 "ok"
expect key predicted r0.1@0ms/0
restart r0
run 1s
expect key predicted r0.1@0ms/0
expect same-state *
