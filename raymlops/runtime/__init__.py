"""The only package that imports Ray: it hosts the cores as actors, replicas and jobs, and carries decisions out."""
