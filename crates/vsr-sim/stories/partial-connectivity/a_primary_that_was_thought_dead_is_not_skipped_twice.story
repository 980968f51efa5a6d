# What is known of others may be wrong: after a view that came to nothing none is skipped. Here r3 and r4 have
# not heard r1 and r2 for long when r0 dies and those come back, but r3 is of no use to them any more.
cluster 5
given run 1s
cut r1 | r2 | r0 r3 r4
given run 1s
crash r0
heal
crash r3
given run 3s
expect one view
expect steady
