"""What a stylized picture is compared by."""
