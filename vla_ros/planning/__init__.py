"""Planning: from action chunks to plans inside the limits. Needs numpy, scipy and daqp; knows no clock and no ROS."""
