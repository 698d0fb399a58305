"""What a picture is reduced to before sets of pictures are compared: one file for each feature network."""
