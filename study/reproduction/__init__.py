"""The source systems' recipes: trained as stated and corrected, and the page that holds both beside the reports."""
