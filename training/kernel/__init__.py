"""The learned item-item kernel: what one item of a support set says about every other item."""
