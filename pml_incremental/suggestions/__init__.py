"""A first config for a folder of images, from what is in it."""
