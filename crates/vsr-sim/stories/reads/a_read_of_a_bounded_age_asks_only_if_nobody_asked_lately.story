# A read bears an age: what was answered so long before it was sent it must see. A backup that asked the
# primary within that time answers at once with what it has executed; else it asks.
cluster 3
given read c1 r2 linearizable get x
given settle
block r0->r2 prepare
block r0->r2 commit
given request c2 put x 1
given settle
read c1 r2 stale=500ms get x
expect reply c1 "(none)"
given run 600ms
read c1 r2 stale=500ms get x
expect no reply c1
given settle
expect reply c1 "1"
read c1 r2 stale=0ms get x
expect no reply c1
settle
expect reply c1 "1"
