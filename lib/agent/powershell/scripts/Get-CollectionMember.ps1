<#
.SYNOPSIS
    The VMs of a collection, by their GUIDs.
.DESCRIPTION
    Input: { settings, collectionId }. Output: { vmIds }; empty when there is no such collection.
    Source: hyperv.md 1.1 (Msvm_CollectedVirtualSystems).
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $namespace = $Request.settings.collectionNamespace
    $collection = Get-CimInstance -Namespace $namespace -ClassName Msvm_VirtualSystemCollection -Filter (Format-GcbFilter -Property 'CollectionID' -Value $Request.collectionId) | Select-Object -First 1
    $vmIds = @()
    if ($null -ne $collection) {
        $vmIds = @(Get-CimAssociatedInstance -InputObject $collection -Association Msvm_CollectedVirtualSystems -ResultClassName Msvm_ComputerSystem |
                ForEach-Object -Process { ConvertTo-GcbGuid -Text ([string]$_.Name) })
    }
    [ordered]@{ vmIds = $vmIds }
}
