"""A stranger's table on its way in: files, types and inputs."""
