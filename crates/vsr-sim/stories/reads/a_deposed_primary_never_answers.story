# The dirty read of jgroups-raft#208: a primary that was left behind knows nothing of what its successor
# did. Nobody confirms its round, and once it hears of the later view its read is answered there.
cluster 3
given request c1 put x 1
given settle
cut r0 | r1 r2 c1
given run 3s
given request c1 put x 2
given run 1s
read c2 r0 linearizable get x
expect no reply c2
advance 300ms
expect no reply c2
heal
given run 2s
resend c2
given run 1s
expect reply c2 "2"
