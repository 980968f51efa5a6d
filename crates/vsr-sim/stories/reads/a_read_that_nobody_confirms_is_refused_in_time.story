# Every read has an outcome (raft-rs#167, tikv#16960): one that cannot be confirmed is refused, and its
# client may ask elsewhere.
cluster 3
cut r0 | r1 r2
read c1 r0 linearizable get x
given advance 14s
expect no reply c1
heal
given run 3s
read c1 linearizable get x
settle
expect reply c1 "(none)"
