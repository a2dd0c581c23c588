<#
.SYNOPSIS
    Destroys a reference point and the entries of the VHD Sets that belong to it.
.DESCRIPTION
    Input: { settings, referencePointCollectionId }. Output: { removed, entries }. Gone already is fine.
    Source: hyperv.md 1.5 (DestroyReferencePoint of both services), 1.6 (DeleteVHDSnapshot).
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
    $state = $Request.settings.stateDirectory
    $timeoutMs = [long]$Request.settings.callTimeoutMs
    $images = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_ImageManagementService
    $id = [string]$Request.referencePointCollectionId
    $removed = $false
    if ($id.StartsWith('vm/', [System.StringComparison]::Ordinal)) {
        $parts = $id.Split([char[]]@('/'), 3)
        $system = Get-GcbVirtualSystem -Namespace $Request.settings.namespace -VmId $parts[1]
        if ($null -ne $system) {
            foreach ($point in @(Get-GcbReferencePoint -VirtualSystem $system | Where-Object -FilterScript { $_.InstanceID -eq $parts[2] })) {
                $service = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_VirtualSystemReferencePointService
                [void](Invoke-GcbMethod -Target $service -MethodName DestroyReferencePoint -Arguments @{ AffectedReferencePoint = $point } -Subject $id -TimeoutMs $timeoutMs)
                $removed = $true
            }
        }
    }
    else {
        $holder = Get-CimInstance -Namespace $namespace -ClassName Msvm_ReferencePointCollection -Filter (Format-GcbFilter -Property 'CollectionID' -Value $id) | Select-Object -First 1
        if ($null -ne $holder) {
            $service = Get-GcbService -Namespace $namespace -ClassName Msvm_CollectionReferencePointService
            [void](Invoke-GcbMethod -Target $service -MethodName DestroyReferencePoint -Arguments @{ AffectedReferencePointCollection = $holder } -Subject $id -TimeoutMs $timeoutMs)
            $removed = $true
        }
    }
    $entries = New-Object -TypeName System.Collections.ArrayList
    foreach ($record in @(Get-GcbRecord -StateDirectory $state -Kind 'reference-points' | Where-Object -FilterScript { $_.referencePointCollectionId -eq $id })) {
        foreach ($disk in @($record.disks | Where-Object -FilterScript { $_.shared })) {
            $entry = @(Get-GcbVhdSetEntry -ImageService $images -Path $disk.path | Where-Object -FilterScript { $_.snapshotId -eq $disk.id })
            # An entry with a file is a checkpoint that somebody still needs: only bare references are removed.
            if ($entry.Count -ne 1 -or $entry[0].path -ne '') { continue }
            [void](Invoke-GcbMethod -Target $images -MethodName DeleteVHDSnapshot -Arguments @{ VHDSetPath = [string]$disk.path; SnapshotId = [string]$disk.id; PersistReferenceSnapshot = $false } -Subject $disk.path -TimeoutMs $timeoutMs)
            [void]$entries.Add([ordered]@{ path = [string]$disk.path; snapshotId = [string]$disk.id })
        }
        Remove-GcbRecord -StateDirectory $state -Kind 'reference-points' -Tag $id
    }
    [ordered]@{ removed = $removed; entries = $entries.ToArray() }
}
