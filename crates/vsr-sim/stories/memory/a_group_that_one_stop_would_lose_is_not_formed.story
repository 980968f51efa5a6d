# In memory a group lasts as long as a view-change quorum of it does: one or two replicas, or any group that
# needs all to change views, would be gone with the first that stops.
refuse cluster 1 durability memory
refuse cluster 2 durability memory
refuse cluster 3 quorum 1/3 durability memory
cluster 4 durability memory
request c1 put x 1
settle
expect reply c1 "ok"
