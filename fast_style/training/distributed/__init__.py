"""Many processes that train one network: how they meet, agree, share the work, and end together."""
