# In the next view a replica asks anew before it answers a read of whatever age: what the round before named
# may have been cut.
cluster 3
given read c1 r2 linearizable get x
given settle
read c1 r2 stale=500ms get x
expect reply c1 "(none)"
given abdicate r0
given settle
expect r2 view 1
read c1 r2 stale=500ms get x
expect no reply c1
settle
expect reply c1 "(none)"
