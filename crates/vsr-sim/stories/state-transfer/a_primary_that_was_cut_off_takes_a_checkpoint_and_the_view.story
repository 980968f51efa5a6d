# r0 is cut off as the primary of view 0, and the others go on without it for longer than their logs reach. It
# knows of view 1 then, and cannot hold what that began with: it takes a checkpoint, though it is a primary.
cluster 3 pipeline 1 batch 1 log-slots 17 checkpoint-every 5
given request c1 put x 1
given settle
cut r0 | r1 r2
given run 1s
expect r1 primary
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
expect r0 primary
heal
given timeout r1 ping
given deliver r1->r0 ping
settle
expect r0 view 1
given run 500ms
expect same-state *
expect r1 primary
