# r0 hears all, and of four others only r1 hears it; those who do not hear it do not hear each other either, so that
# they cannot replace it. By their PINGs it learns that, and gives way though it hears a quorum.
cluster 5
given run 1s
cut r0->r2
cut r0->r3
cut r0->r4
cut r2 | r3 | r4
given run 3s
expect r1 primary
